"""Networks that Won, Ferraro, Bogdanov and Serra 2020 compare, *Evaluation of CNN-based models*."""
