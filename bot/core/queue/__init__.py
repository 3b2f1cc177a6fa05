"""Whose turn is it, when GPUs are scarce?"""
