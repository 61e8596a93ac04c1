-- Makes an Ardour session: a stereo track with the plugin on it.
-- arguments: session folder, session name, sample rate, sample of the gain step

local folder, name, rate, step = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])

AudioEngine:set_backend("None (Dummy)", "", "")
local session = assert(create_session(folder, name, rate), "no session")
local tracks = session:new_audio_track(2, 2, nil, 1, "vocal", ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
local track = tracks:front()

local processor = ARDOUR.LuaAPI.new_plugin(session, "Timbra", ARDOUR.PluginType.VST3, "")
assert(not processor:isnil(), "the plugin is not in Ardour's cache")
assert(track:add_processor_by_index(processor, 0, nil, true) == 0, "the plugin was refused")

-- Find a parameter by the label hosts show.
local insert = processor:to_insert()
local plugin = insert:plugin(0)
local function number_of(label)
	local seen = 0
	for i = 0, plugin:parameter_count() - 1 do
		if plugin:parameter_is_control(i) and plugin:parameter_is_input(i) then
			if plugin:parameter_label(i) == label then
				return seen
			end
			seen = seen + 1
		end
	end
	error("no parameter " .. label)
end

-- A value to be saved with the session, and a step of automation.
local pitch = number_of("Pitch")
assert(ARDOUR.LuaAPI.set_processor_param(processor, pitch, 0.75), "pitch was not set")
local gain = number_of("Output gain")
local full = ARDOUR.LuaAPI.get_processor_param(processor, gain)
local automation, points, about = ARDOUR.LuaAPI.plugin_automation(processor, gain)
assert(not automation:isnil(), "output gain is not automatable")
points:add(Temporal.timepos_t(0), full, false, true)
-- Ardour keeps these positions in musical time, whose grain is 12 samples here.
points:add(Temporal.timepos_t(step - math.floor(rate / 100)), full, false, true)
points:add(Temporal.timepos_t(step), about.lower, false, true)
local control = insert:to_automatable():automation_control(Evoral.Parameter(ARDOUR.AutomationType.PluginAutomation, 0, gain), false)
control:set_automation_state(ARDOUR.AutoState.Play)

-- Values reach a VST3 plugin with the next block; the dummy backend is running.
sleep(1)
session:save_state("")
print("latency " .. tostring(processor:signal_latency()))
close_session()
quit()
