"""Model families, GPUs, chat templates and formats of tool calls, for training and serving."""
