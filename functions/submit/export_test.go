package submit

// SettingsOf is what a function was made with.
func SettingsOf(f *Function) *Settings { return &f.settings }
