"""The rehearsal: a model's full lifecycle on a twin of the cloud, before you pay for anything."""
