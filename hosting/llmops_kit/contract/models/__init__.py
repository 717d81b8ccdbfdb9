"""Model families, GPUs, chat templates and forms of tool calls, as both training and serving read them."""
