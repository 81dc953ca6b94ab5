"""What people see and press: the control API and the status page, served by the monitor process."""
