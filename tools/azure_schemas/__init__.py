"""Compile what Azure's APIs take into azure/schemas, from the models of Microsoft's own clients.

The clients are not the kit's: each is installed apart, for the moment of compiling. `machinelearning` compiles Azure
ML's models, `management` those of the other resource providers. A model becomes a JSON schema below `$defs`, which
tells variants apart by their discriminator; `readOnly` lists the members that only answers have.
"""
