"""What predictor-guided search is made of: choices as numbers, a Gaussian process over them, expected improvement."""
