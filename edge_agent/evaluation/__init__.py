"""How good are the scores? Sets of images through a bundle, and the figures they give."""
