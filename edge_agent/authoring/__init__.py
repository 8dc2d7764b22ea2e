"""An exported classifier -> a bundle; and what a bundle is worth. Building one needs onnx."""
