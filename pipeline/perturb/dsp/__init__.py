"""Signal processing that several perturbations share."""
