"""The trainer of `training.framework: tensorflow`: Keras 3 on TensorFlow, in its own image.

It is a room of `training`, since rows, chat templates, checkpoints, guard and progress are the PyTorch trainer's own:
what is learned is the same. Its modules import TensorFlow, which takes seconds: import them where they are used.
"""
