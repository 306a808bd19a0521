"""Audio to store: catalogs, decoding, mel maths, plans, shards, Dask."""
