//go:build windows || darwin

package cli

// graphical reports whether there is a screen on which a browser can open.
func (a *app) graphical() bool { return true }
