"""The audio spectrogram transformer of Gong, Chung and Glass 2021."""
