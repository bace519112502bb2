"""The commands of decomp-ser and what they share."""
