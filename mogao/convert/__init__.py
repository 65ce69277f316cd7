"""Foreign weights to a model folder, the way back, and a model from parts, tensor by tensor."""
