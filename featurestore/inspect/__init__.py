"""What a store holds, to look at."""
