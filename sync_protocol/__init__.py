"""The contract between devices and base: topics and messages. Imports nothing of ours."""
