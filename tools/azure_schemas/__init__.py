"""Compiles the request bodies of Azure's APIs into azure/schemas, from the models of Microsoft's own clients.

The clients are not dependencies of the kit: each is installed only for compiling. `machinelearning` compiles Azure ML's
models, `management` those of the other resource providers. A model becomes a JSON schema below `$defs`, which selects
variants by their discriminator; `readOnly` lists the members that only responses have.
"""
