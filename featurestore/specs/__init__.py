"""What the numbers mean: specs, grids of them, views, encodings."""
