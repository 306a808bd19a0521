"""Networks of Won, Choi and Serra 2021, *Semi-supervised music tagging transformer*."""
