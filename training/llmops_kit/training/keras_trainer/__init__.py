"""The trainer of `training.framework: tensorflow`: Keras 3 on TensorFlow, in its own image.

It shares rows, chat templates, checkpoints, guard and progress with the PyTorch trainer, so both learn the same. Its
modules import TensorFlow, which takes seconds: import them where they are used.
"""
