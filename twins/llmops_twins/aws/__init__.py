"""An emulator of an AWS account: moto's server with SageMaker on top, and with moto's deviations from AWS corrected."""
