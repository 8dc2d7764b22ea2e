"""Training of classifier bundles: tiles and labels in, a bundle folder out."""
