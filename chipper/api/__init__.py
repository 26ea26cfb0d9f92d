"""What ``import chipper`` offers to notebooks and scripts; the names are listed in `chipper.NAMES`."""
