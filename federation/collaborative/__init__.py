"""The collaborative signal: what devices can sum about items without telling who met them."""
