"""The smoke test: a scripted first day on a real account, and the questions that only an account answers."""
