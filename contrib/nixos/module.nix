# ccproxy as a systemd user service of every user who has a key; see docs/service.md.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.ccproxy;
  inherit (lib) mkEnableOption mkIf mkOption types;
in
{
  options.services.ccproxy = {
    enable = mkEnableOption "the model behind Claude Code, as an OpenAI-compatible API";

    package = mkOption {
      type = types.package;
      description = "The ccproxy package; the flake's module sets it.";
    };

    model = mkOption {
      type = types.str;
      default = "sonnet";
      description = "Model for requests without `model`: haiku, sonnet, opus or a full id.";
    };

    host = mkOption {
      type = types.str;
      default = "127.0.0.1";
      description = "Address to listen on.";
    };

    port = mkOption {
      type = types.port;
      default = 8080;
      description = "Port to listen on.";
    };

    keyFile = mkOption {
      # Not types.path: Nix would copy the file to its store, which all users can read.
      type = types.str;
      default = "%E/ccproxy/key";
      example = "/run/secrets/ccproxy";
      description = "A file with the keys that clients may send, one per line; %E is ~/.config.";
    };

    claudeBin = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/profiles/per-user/me/bin/claude";
      description = "The claude CLI; null: searched on the service's PATH and in the wheel claude-agent-sdk.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = !lib.hasPrefix builtins.storeDir cfg.keyFile;
        message = "services.ccproxy.keyFile is in the Nix store, which every user can read.";
      }
    ];

    systemd.user.services.ccproxy = {
      description = "The model behind Claude Code, as an OpenAI-compatible API";
      wantedBy = [ "default.target" ];
      # ccproxy starts the CLI with env, setpriv and setsid.
      path = [ pkgs.coreutils pkgs.util-linux ];
      environment = {
        CLAUDE_MODEL = cfg.model;
        HOST = cfg.host;
        PORT = toString cfg.port;
      } // lib.optionalAttrs (cfg.claudeBin != null) { CLAUDE_BIN = cfg.claudeBin; };
      unitConfig = {
        StartLimitIntervalSec = "5min";
        StartLimitBurst = 5;
      };
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/ccproxy --api-key-file=%d/key";
        LoadCredential = "key:${cfg.keyFile}";
        Restart = "on-failure";
        RestartSec = "2s";
        KillMode = "mixed";
        TimeoutStopSec = "60s";
        NoNewPrivileges = true;
        LockPersonality = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        UMask = "0077";
      };
    };
  };
}
