"""The twin's resource providers: each module's `install(twin)` adds its kinds, actions and routes."""
