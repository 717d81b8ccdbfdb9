"""The rehearsal: the whole life of a model and its deployment on a twin of the cloud, before anything is paid for."""
