"""The papers' printed tables beside what we count."""
