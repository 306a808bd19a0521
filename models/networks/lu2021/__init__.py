"""Networks after Lu, Wang, Won, Choi and Song 2021, *SpecTNT: a time-frequency transformer*."""
