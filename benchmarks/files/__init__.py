"""Audio files made to measure: of every kind, whole and injured, and what is right for each."""
