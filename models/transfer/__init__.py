"""What a training starts from: another one's weights, and what an adapter adds to them."""
