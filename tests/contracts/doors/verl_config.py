"""Composes verl's own configuration with the settings of a launch script: python verl_config.py LAUNCH.sh > CONFIG.json"""

import json
import re
import shlex
import sys
from pathlib import Path

import verl
from hydra import compose, initialize_config_dir

words = shlex.split(Path(sys.argv[1]).read_text(), comments=True)
settings = [word for word in words[words.index("verl.trainer.main_ppo") + 1 :] if re.match(r"[\w.+]+=", word)]
with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
    config = compose("ppo_trainer", overrides=settings)  # an unknown key raises
json.dump(
    {
        "settings": len(settings),
        "kl_coef": config.algorithm.kl_ctrl.kl_coef,
        "target_kl": config.algorithm.kl_ctrl.target_kl,
        "epochs": config.actor_rollout_ref.actor.ppo_epochs,
        "critic_epochs": config.critic.ppo_epochs,
        "path": config.reward.custom_reward_function.path,
    },
    sys.stdout,
)
