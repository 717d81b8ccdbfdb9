"""The Pulumi program: settings -> target -> resources -> outputs."""
