"""Store to numbers: data sets, networks, their cost, training, the study and its report."""
