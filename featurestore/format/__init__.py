"""What lies where in a store, and how it is read and written."""
