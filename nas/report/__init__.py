"""What a person reads of a run: terminal tables, the page, pictures, advice, comparisons."""
