"""Model packages: made of ONNX files, of checkpoints and of the folders of other libraries."""
