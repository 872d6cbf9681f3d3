"""A network as a directory that timm loads, its proof, its card, and other formats."""
