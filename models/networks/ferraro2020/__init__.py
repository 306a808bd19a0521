"""Networks of Ferraro et al. 2020, *How low can you go? Reducing frequency and time resolution*."""
