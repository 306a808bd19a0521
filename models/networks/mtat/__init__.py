"""Networks of two reports on MagnaTagATune: a vision transformer, and networks by depth."""
