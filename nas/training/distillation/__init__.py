"""Distillation: a teacher beside the labels."""
