"""The offline scene world: composed pictures of open emoji art with exact ground truth."""
