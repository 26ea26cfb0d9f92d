"""The functions and classes that ``import chipper`` provides; `chipper.NAMES` lists their names."""
