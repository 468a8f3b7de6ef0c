package main

import (
	"errors"

	"pawl/softcard"
)

// softcardKeyCmd drives the two master key registers of a software card, as an HSM's
// administrators drive those of a domain. A card that serves the folder follows at once.
type softcardKeyCmd struct {
	Step string `arg:"" enum:"show,load,commit,finalise" help:"load puts a new master key beside the current one, commit lets keys be rewrapped under it, finalise makes it the current one: keys that were not rewrapped are lost. show only prints."`
	Dir  string `default:"./softcard" placeholder:"DIR" help:"Folder of the card (default: ${default})."`
}

func (*softcardKeyCmd) Help() string {
	return helpText("Does to a software card what an HSM's administrators do to change its master key. A card that "+
		"serves the folder follows at once.",
		"pawl softcard-key load --dir ./card", exitCodes)
}

// Run takes one step and prints the registers as they are then.
func (c *softcardKeyCmd) Run(s *streams) error {
	registers, err := c.step()
	if errors.Is(err, softcard.ErrNoCard) {
		return withHint(err, "name its folder with --dir; pawl softcard makes one")
	}
	if err != nil {
		return err
	}
	return s.printf("%v\n", registers)
}

func (c *softcardKeyCmd) step() (softcard.Registers, error) {
	dir := softcard.Dir(c.Dir)
	steps := map[string]func() error{"load": dir.LoadNext, "commit": dir.CommitNext, "finalise": dir.Finalise}
	if step, ok := steps[c.Step]; ok {
		if err := step(); err != nil {
			return softcard.Registers{}, err
		}
	}
	return dir.Registers()
}
