"""Proposal files of four formats, and proposals by selective search."""
