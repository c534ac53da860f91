"""Trains LoRA adapters of many agents at once on one base model that stays loaded."""
