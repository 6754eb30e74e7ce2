"""Parts that showed no life in time, and the images that recovery gave up."""
