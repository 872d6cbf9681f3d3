"""Images: where they come from, which of them are trained on and judged by, and their decoded pixels."""
