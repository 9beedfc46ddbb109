"""Text kernels over Arrow string buffers."""
